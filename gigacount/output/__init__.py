"""Results on disk: one writer per file, one folder per image, all or nothing.

`folder` and `opened` find finished results without libvips and Pillow, which `writers` brings.
"""
