"""Both pre-training stages on the device: crops drawn there, in the time that is given."""
