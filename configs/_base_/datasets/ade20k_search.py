# How tools/search.py scores on ADE20K: on training images, split by
#     python tools/datasets/hold_out.py data/ade/ADEChallengeData2016/images/training
search = dict(
    metric='mIoU',
    # Each candidate goes on from a student trained with all levels. One process
    # trains it, so it has the batch that the learning rate is for.
    evaluator=dict(iterations=4000, shared_iterations=8000),
    executor=dict(type='mmrlkd.RayExecutor', cpus=8, gpus=1),
    workers=1,
    data=dict(
        train_dataloader=dict(
            batch_size=16, num_workers=8,
            dataset=dict(ann_file='images/search_train.txt')),
        val_dataloader=dict(
            dataset=dict(
                ann_file='images/search_val.txt',
                data_prefix=dict(
                    img_path='images/training',
                    seg_map_path='annotations/training')))),
    held_out=dict(dataset=dict(ann_file='images/search_val.txt')))
