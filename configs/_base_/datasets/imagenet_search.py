# What a search sees of ImageNet: it trains and scores on training images, split by
#     python tools/datasets/hold_out.py data/imagenet/train
# One process trains a candidate, so it has the batch that the learning rate is for.
search_data = dict(
    train_dataloader=dict(
        batch_size=256, num_workers=8,
        dataset=dict(ann_file='search_train.txt')),
    val_dataloader=dict(
        dataset=dict(ann_file='search_val.txt', split='train')))
# Each candidate goes on for an epoch from a student trained with all levels for two.
candidates = dict(
    metric='accuracy/top1',
    evaluator=dict(iterations=5000, shared_iterations=10000),
    executor=dict(type='mmrlkd.RayExecutor', cpus=8, gpus=1),
    workers=1,
    data=search_data)
