# Controller-LS, by tools/search.py: levels, losses, connectors and the teacher's
# levels, 400 recipes.
_base_ = './uniform.py'
method = dict(
    search=dict(
        staleness=1,
        strategy=dict(
            type='mmrlkd.ControllerSearch',
            batch_size=8,
            batches=50,
            losses=dict(
                mse=dict(type='mmrlkd.MSELoss'),
                cwd=dict(type='mmrlkd.CWDLoss')),
            connectors=dict(
                conv=dict(type='mmrlkd.ConvConnector'),
                mlp=dict(type='mmrlkd.MLPConnector')))))
