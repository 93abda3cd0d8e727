"""A convolutional network in Keras, told after each epoch how it does and whether to go on."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # after the line above: the level of the log counts when TensorFlow is loaded


def train(trial):
    keras.utils.set_random_seed(trial.seed)
    data = trial.data
    model = keras.Sequential(
        [
            keras.layers.Input((64,)),
            keras.layers.Reshape((8, 8, 1)),
            keras.layers.Conv2D(trial.params["filters"], 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(len(data.classes), activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(trial.params["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )

    def error_rate():
        return 1.0 - model.evaluate(data.test.inputs, data.test.targets, verbose=0)[1]

    class Reports(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            trial.report(epoch + 1, error_rate())

    model.fit(data.train.inputs, data.train.targets, epochs=trial.params["epochs"], verbose=0, callbacks=[Reports()])
    model.save(trial.scratch / "model.keras")
    trial.artifact("model.keras")
    return {"error_rate": error_rate()}
