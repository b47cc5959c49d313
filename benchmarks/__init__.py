"""What is timed or trained. README.md lists the commands and the results.

speed/      latency, throughput and memory
training/   campaigns: many trainings from one plan
results/    result files, each with the command, commit and machine that made it
"""
