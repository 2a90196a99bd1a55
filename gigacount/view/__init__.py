"""Looking at a result, checking it by hand and correcting it.

audit        how many people there are, from patches that a person counts: which patches, the total, its interval
trail        every count that a person gives, in a file that only grows
opening      a result with all that belongs to it
sheets       patches as images with a table to fill in, for counting without the viewer
drawings     regions, zones that do not count, and corrected heads, in files beside the result
tiles        what the viewer draws, tile by tile
server       the viewer's server, for one browser on this machine; page/ is what it shows
"""
