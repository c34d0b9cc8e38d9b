# How tools/search.py scores on ImageNet: on training images, split by
#     python tools/datasets/hold_out.py data/imagenet/train
search = dict(
    metric='accuracy/top1',
    # Each candidate goes on for an epoch from a student trained with all levels for
    # two. One process trains it, so it has the batch that the learning rate is for.
    evaluator=dict(iterations=5000, shared_iterations=10000),
    executor=dict(type='mmrlkd.RayExecutor', cpus=8, gpus=1),
    workers=1,
    data=dict(
        train_dataloader=dict(
            batch_size=256, num_workers=8,
            dataset=dict(ann_file='search_train.txt')),
        val_dataloader=dict(
            dataset=dict(ann_file='search_val.txt', split='train'))),
    held_out=dict(dataset=dict(ann_file='search_val.txt')))
