# How tools/search.py scores on COCO: on images of train2017, split by
#     python tools/datasets/hold_out.py data/coco/annotations/instances_train2017.json
search = dict(
    metric='coco/bbox_mAP',
    # Each candidate goes on for an epoch from a student trained with all levels for
    # two. One process trains it, so it has the batch that the learning rate is for.
    evaluator=dict(iterations=7000, shared_iterations=14000),
    executor=dict(type='mmrlkd.RayExecutor', cpus=8, gpus=1),
    workers=1,
    data=dict(
        train_dataloader=dict(
            batch_size=16, num_workers=8,
            dataset=dict(ann_file='annotations/search_train.json')),
        val_dataloader=dict(
            dataset=dict(
                ann_file='annotations/search_val.json',
                data_prefix=dict(img='train2017/'))),
        val_evaluator=dict(ann_file='data/coco/annotations/search_val.json')),
    # What a search in training learns from, where that differs from training data.
    held_out=dict(dataset=dict(ann_file='annotations/search_val.json')))
