"""Files and folders on disk: atomic writes, writes that last, and locks. Nothing here knows of images."""
