"""A command: any program, in any language, as a driver. One process a trial, no shell.

It is given its parameters as arguments (`"{name}"`), as OPTML_PARAM_<NAME>, and in the JSON file that OPTML_TRIAL
names; it gives its metric on stdout or in a file.
"""
