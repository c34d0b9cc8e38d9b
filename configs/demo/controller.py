# Controller-LS: also which loss, which connector, and which of the teacher's
# levels; 5 batches of 4 recipes.
_base_ = './exhaustive.py'
search = dict(
    strategy=dict(
        _delete_=True,
        type='mmrlkd.ControllerSearch',
        batch_size=4,
        batches=5,
        losses=dict(
            mse=dict(type='mmrlkd.MSELoss'),
            cwd=dict(type='mmrlkd.CWDLoss')),
        connectors=dict(
            conv=dict(type='mmrlkd.ConvConnector'),
            mlp=dict(type='mmrlkd.MLPConnector'))))
