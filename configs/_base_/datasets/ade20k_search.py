# What a search sees of ADE20K: it trains and scores on training images, split by
#     python tools/datasets/hold_out.py data/ade/ADEChallengeData2016/images/training
# One process trains a candidate, so it has the batch that the learning rate is for.
search_data = dict(
    train_dataloader=dict(
        batch_size=16, num_workers=8,
        dataset=dict(ann_file='images/search_train.txt')),
    val_dataloader=dict(
        dataset=dict(
            ann_file='images/search_val.txt',
            data_prefix=dict(
                img_path='images/training',
                seg_map_path='annotations/training'))))
# Each candidate goes on from a student trained with all levels.
candidates = dict(
    metric='mIoU',
    evaluator=dict(iterations=4000, shared_iterations=8000),
    executor=dict(type='mmrlkd.RayExecutor', cpus=8, gpus=1),
    workers=1,
    data=search_data)
