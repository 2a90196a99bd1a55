"""How wrong it is: counts and heads measured against ground truth, by `reports`.

evaluate_counts(count_samples(samples, estimate))   a data set and a function that counts
evaluate_points(truth, predictions)                 two files of heads
evaluate_pairs(list(locate_samples(samples, locate)))

Neither a network nor an image is known here, but in `calibrate`, which settles a network's record, and `resolution`.
"""
