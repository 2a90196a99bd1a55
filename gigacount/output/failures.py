"""What libvips says when it cannot write, as the system's error that it was."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from gigacount.image.vips import library

NUMBERS = {os.strerror(number): number for number in errno.errorcode}


@contextmanager
def system_errors() -> Iterator[None]:
    """Raise OSError in place of libvips' errors, for `explained` to tell; a full disk is one whoever finds it."""
    try:
        yield
    except library().Error as error:
        said = re.search(r"system error: (.*)", str(error))
        text = said[1].strip() if said else str(error).strip().splitlines()[-1].strip()
        raise OSError(NUMBERS.get(text, errno.EIO), text) from error
