"""Training of SAL: data sets, networks, losses, symbiotic training, evaluation. Needs the extra `train`.

The idea of the paper, in three files:

networks.py   the networks, under the paper's symbols
losses.py     one equation, one function
phases.py     Algorithm 1 as a table: which phase moves which networks by which losses

The machinery around it:

config.py, recipe.py            settings of a run
train.py                        `sal train`: from a data set and a recipe to a run
iteration.py                    one iteration: features once, then the phases of the stage
unseen.py                       sampling of attribute combinations that training has not seen
training_data.py                images and labels of a run, and the batches of an epoch
first_weights.py                initial weights of the networks
frozen_trunk.py                 output of what does not learn in a trunk, computed once
teacher.py                      a finished run that a smaller network imitates
run_directory.py                what a run directory holds before the first epoch
checkpoint.py, training_log.py  files that a run writes
distributed.py, cpu_memory.py   several processes under torchrun; memory on a CPU

The rooms:

datasets/    Market-1501, PETA, your own tables, drawn people
images/      decoded and augmented images
backbones/   image trunks and their published weights
closed_form/ what is solved instead of trained: the linear part of the query, a linear generator
evaluation/  protocols, metrics, calibration, the report of `sal eval`
recipes/     the shipped recipes, and the choice among them
report/      the report after training
"""
