// Gives labels of scsam, opened from a TIFF, the colours of their classes.
lines = split(getMetadata("Info"), "\n");
getLut(reds, greens, blues);
for (i = 0; i < lines.length; i++) {
  if (matches(lines[i], "\\d+ = .* #[0-9a-f]{6}")) {
    id = parseInt(substring(lines[i], 0, indexOf(lines[i], " = ")));
    colour = parseInt(substring(lines[i], lengthOf(lines[i]) - 6), 16);
    reds[id] = (colour >> 16) & 255;
    greens[id] = (colour >> 8) & 255;
    blues[id] = colour & 255;
  }
}
setLut(reds, greens, blues);
setMinAndMax(0, 255);
