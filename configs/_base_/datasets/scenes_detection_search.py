# How tools/search.py scores on the scenes: on images of the training split, see
# tools/datasets/hold_out.py.
search = dict(
    metric='coco/bbox_mAP',
    # 200 iterations with all levels, once; then 60 for each candidate.
    evaluator=dict(iterations=60, shared_iterations=200),
    data=dict(
        train_dataloader=dict(
            dataset=dict(ann_file='annotations/search_train.json')),
        val_dataloader=dict(
            dataset=dict(
                ann_file='annotations/search_val.json',
                data_prefix=dict(img='train/'))),
        val_evaluator=dict(ann_file='data/scenes/annotations/search_val.json')),
    held_out=dict(dataset=dict(ann_file='annotations/search_val.json')))
