"""What a region of interest and a two-stage model's first stage save, and whether they cost a defect."""
