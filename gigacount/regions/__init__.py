"""Regions of an image: polygons from a GeoJSON file, the people inside each, and how close they stand.

polygons   read from GeoJSON, checked, and brought to pixels
inside     what lies in a polygon: cells of a density map, points
region     Region, RegionCount, Regions
"""

from gigacount.regions.polygons import read_regions
from gigacount.regions.region import Region, RegionCount, Regions

__all__ = ["Region", "RegionCount", "Regions", "read_regions"]
