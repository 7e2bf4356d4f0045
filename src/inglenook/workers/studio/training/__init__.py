# SPDX-License-Identifier: Apache-2.0
"""One run of training.

run          the handler of `Train`: prepares, fits, and says the last word
preparing    the parts of a run from its spec: data, network, first weights; shared with the finders
learner      the LightningModule: one step, one validation, one epoch's record
schedule     the learning rate of each epoch: a pure function
optimizers   groups of parameters and who moves them
averaging    the moving average of the weights
checkpoints  plain tensors and primitives, written whole or not at all
keeping      checkpoints, the record of each epoch, notices
progress     how far it is
state        everything that a run goes on from
parking      the device freed and taken again
reporting    progress a few times a second, and losses that are no numbers
logs         TensorBoard and MLflow
"""
