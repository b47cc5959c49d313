"""Files, folders of frames and cameras as frames."""
