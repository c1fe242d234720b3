"""From a trigger to the frames of a part: what starts one, which frame belongs to it, and what happens where none comes."""
