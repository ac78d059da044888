"""`make bench`: whole commands of galley and of other builders, timed in turn, beside the limit of the same work.

process    runs and waits for commands; what they and the daemons behind them used
work       the folder of a run: what is made in it, mounted in it and started for it goes with it
builders   a class for each builder            transfers  what pulls and pushes
contexts   the folders that are built          bases      base images in a registry of this machine
limits     the same work with nothing around   scenarios  what is measured
measure    the turns                           goals      what galley promises, and whether it holds
report     docs/performance.md                 plots      docs/performance/*.svg
"""
