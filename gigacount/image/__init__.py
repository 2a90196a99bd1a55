"""Pixels of images far larger than memory: any window at any size.

reader        GigaImage; array: the same for pixels that are in memory already
imagefile     a file, checked and opened by its header; info: ImageInfo, and EXIF orientation
tags, pages   a TIFF's directories; which of its images is read, and who decodes it
source        where levels come from: tiles of the file; streamed: one decoding into memory and scratch
overviews     whether the smaller copies in a file show the image
levels        grids of pixels in memory, scratch or tiles; scratch: the file without a name
resample      a window of a level at any size: boxes (means, cheap), then libvips' kernels (sharp)
colour        any pixels to sRGB; samples: what their numbers mean
ground        masks, how much of an image is ground, and what is odd about it
sidecar       files beside an image, and what GDAL says of bands
geotags       where an image lies on the earth, by its files; georeference: that value
room          memory for what is decoded whole
vips          libvips behind a few functions, the only door to it
codecs        TIFF segments decoded by tifffile
foreign       formats that Python decodes; formats, jpeg, photoshop: their headers
"""

from gigacount.options import ReadOptions

from .info import ImageInfo
from .reader import GigaImage
from .room import needed_bytes

__all__ = ["GigaImage", "ImageInfo", "ReadOptions", "needed_bytes"]
