"""Pixels of pictures far larger than memory: any window at any size.

reader        GigaImage
info          ImageInfo
picture       a file, checked and opened by its header
tags, pages   a TIFF's directories; which of its pictures is read, and who decodes it
source        what its levels come from: tiled (tiles of the file), streamed (one decoding into memory and scratch)
overviews     whether smaller copies show the picture
levels        grids of pixels in memory, scratch or tiles
resample      a window of a level at any size: boxes (means, cheap), then libvips' kernels (sharp)
colour        any pixels to sRGB; samples, spans: what their numbers mean; gdal: what GDAL says of that
mask          masks in TIFF files and beside pictures; ground: how much of a picture is ground, and what is odd about it
orientation   EXIF
scratch       the file without a name; pipe: why some formats come through one; room: memory for what is decoded whole
vips          libvips behind a few functions, the only door to it
pieces        tiles and strips by tifffile; codecs: TIFFs that are read so
foreign       formats that Python decodes; form: what it hands out; openexr, photoshop, jpegxl, jpeg: single formats
beside        files beside a picture; geotags, georeference: where it lies on the earth
"""

from gigacount.options import ReadOptions

from .info import ImageInfo
from .reader import GigaImage
from .room import needed_bytes

__all__ = ["GigaImage", "ImageInfo", "ReadOptions", "needed_bytes"]
