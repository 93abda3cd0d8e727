#!/bin/sh
# Minimise x^2 + 30 y^2 from (1, 1). Prints step=<n> loss=<value> on the way; the last line is the result.
exec awk -v rate="$OPTML_PARAM_LEARNING_RATE" -v momentum="$OPTML_PARAM_MOMENTUM" 'BEGIN {
  x = 1; y = 1
  for (step = 1; step <= 100; step++) {
    dx = momentum * dx - rate * 2 * x
    dy = momentum * dy - rate * 60 * y
    x += dx; y += dy
    loss = x * x + 30 * y * y
    if (step % 20 == 0 && loss < 1e30) printf "step=%d loss=%.8e\n", step, loss
  }
  if (loss < 1e30) printf "loss=%.8e\n", loss; else print "loss=inf"
}'
