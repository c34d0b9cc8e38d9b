# What a search sees of the scenes: it trains and scores on images of the
# training split, see mmrlkd/datasets/hold_out.py.
search_data = dict(
    train_dataloader=dict(
        dataset=dict(ann_file='annotations/search_train.json')),
    val_dataloader=dict(
        dataset=dict(
            ann_file='annotations/search_val.json',
            data_prefix=dict(img='train/'))),
    val_evaluator=dict(ann_file='data/scenes/annotations/search_val.json'))
