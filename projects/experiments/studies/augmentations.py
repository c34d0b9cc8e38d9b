# What K fixed augmentations of each image cost in quality, where a training shows an
# image ten times: K of 1 and 4, and as many as there are epochs and more. A cache of
# the teacher's maps has hits with the first two; see docs/teacher_cache.md.
version = 1
worlds = dict(
    scenes=dict(
        pair='configs/demo/augmented.py',
        student='configs/demo/augmented_student.py',
        data=dict(size=96, val=1000)))


def entry(method, variants, budget):
    return dict(
        name=f'{method or "student"} K={variants or "inf"}', method=method,
        options={'train_dataloader.dataset.variants': variants or 1_000_000},
        budget=budget, priority=0 if method else 1)


# The page compares entries of one budget, here the nominal cost of all levels.
entries = [entry(method, variants, budget)
           for method, budget in (('uniform', 7.5), (None, 0))
           for variants in (1, 4, None)]
