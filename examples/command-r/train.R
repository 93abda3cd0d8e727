# Local regression (loess), five-fold cross-validation. Prints step=<fold> rmse=<so far> and at last rmse=<mean>.
args <- commandArgs(trailingOnly = TRUE)
value <- function(name) {
  prefix <- paste0("--", name, "=")
  as.numeric(sub(prefix, "", args[startsWith(args, prefix)], fixed = TRUE))
}

set.seed(value("seed"))
folds <- sample(rep(1:5, length.out = nrow(cars)))
squares <- numeric(0)
for (fold in 1:5) {
  model <- loess(dist ~ speed, cars[folds != fold, ],
    span = value("span"), degree = value("degree"),
    control = loess.control(surface = "direct")
  )
  test <- cars[folds == fold, ]
  squares <- c(squares, (predict(model, test) - test$dist)^2)
  cat(sprintf("step=%d rmse=%.6f\n", fold, sqrt(mean(squares))))
}
cat(sprintf("rmse=%.10f\n", sqrt(mean(squares))))
