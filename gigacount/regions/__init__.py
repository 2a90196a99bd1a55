"""Regions of a picture: polygons from a GeoJSON file, the people inside each, and how close they stand.

geojson    polygons read, checked, and brought to pixels
inside     what lies in a polygon: cells of a density map, points
regions    Region, RegionCount, Regions
"""

from gigacount.regions.geojson import read_regions
from gigacount.regions.regions import Region, RegionCount, Regions

__all__ = ["Region", "RegionCount", "Regions", "read_regions"]
