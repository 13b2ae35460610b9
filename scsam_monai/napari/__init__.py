"""The napari plugin: predict, paint, adapt and measure in napari's window, and open what scsam has written."""
