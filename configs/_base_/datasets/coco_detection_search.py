# What a search sees of COCO: it trains and scores on images of train2017, split by
#     python tools/datasets/hold_out.py data/coco/annotations/instances_train2017.json
# One process trains a candidate, so it has the batch that the learning rate is for.
search_data = dict(
    train_dataloader=dict(
        batch_size=16, num_workers=8,
        dataset=dict(ann_file='annotations/search_train.json')),
    val_dataloader=dict(
        dataset=dict(
            ann_file='annotations/search_val.json',
            data_prefix=dict(img='train2017/'))),
    val_evaluator=dict(ann_file='data/coco/annotations/search_val.json'))
# Each candidate goes on for an epoch from a student trained with all levels for two.
candidates = dict(
    metric='coco/bbox_mAP',
    evaluator=dict(iterations=7000, shared_iterations=14000),
    executor=dict(type='mmrlkd.RayExecutor', cpus=8, gpus=1),
    workers=1,
    data=search_data)
