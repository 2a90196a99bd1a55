"""Regions of a picture: polygons from a GeoJSON file, the people inside each, and how close they stand.

geojson    polygons read, checked, and brought to pixels
geotiff    where a GeoTIFF's pixels lie on the earth
inside     what lies in a polygon: people of a density map, points
regions    Region, Regions and the table of them
"""

from gigacount.regions.geojson import read_regions
from gigacount.regions.geotiff import GeoReference, read_georeference
from gigacount.regions.regions import Region, RegionCount, Regions

__all__ = ["GeoReference", "Region", "RegionCount", "Regions", "read_georeference", "read_regions"]
