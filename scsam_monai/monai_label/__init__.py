"""Everything that only a MONAI Label server needs: its app, its training, corrected labels."""
