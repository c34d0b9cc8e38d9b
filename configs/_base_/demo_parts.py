# What parts of methods are given in the demos, whichever method has them: networks
# as small as the student, with its widths, and searches that two cores finish.
small = dict(hidden=64, global_dim=128, level_dim=64)
parts = {
    'mmrlkd.LSTMPolicy': small,
    'mmrlkd.MLPPolicy': small,
    'mmrlkd.DARTSSelector': dict(lr=0.05),
    'mmrlkd.GDASSelector': dict(lr=0.05),
    'mmrlkd.EvolutionSearch': dict(population=4, generations=5),
    'mmrlkd.ControllerSearch': dict(batch_size=4, batches=5),
}
del small
