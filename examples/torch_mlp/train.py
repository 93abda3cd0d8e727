"""A multi-layer perceptron in PyTorch. An attempt after a lost worker goes on from a checkpoint, to the same bits."""

from functools import partial

import torch
from torch import nn

BATCH = 64


def train(trial):
    torch.set_num_threads(trial.threads)
    torch.manual_seed(trial.seed)
    data = trial.data  # read only, and shared by all trials of the process: hence the copies
    inputs, targets = torch.tensor(data.train.inputs), torch.tensor(data.train.targets)
    test_inputs, test_targets = torch.tensor(data.test.inputs), torch.tensor(data.test.targets)

    width = trial.params["width"]
    model = nn.Sequential(nn.Linear(inputs.shape[1], width), nn.ReLU(), nn.Linear(width, len(data.classes)))
    optimizer = torch.optim.Adam(model.parameters(), lr=trial.params["learning_rate"])
    begun = take_up(trial.restore(), model, optimizer)
    for epoch in range(begun + 1, trial.params["epochs"] + 1):
        for batch in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            error_rate = (model(test_inputs).argmax(dim=1) != test_targets).float().mean().item()
        trial.report(epoch, error_rate)
        if epoch < trial.params["epochs"]:
            trial.checkpoint_if_due(partial(state_of, epoch, model, optimizer))
    torch.save(model.state_dict(), trial.scratch / "model.pt")
    trial.artifact("model.pt")
    return {"error_rate": error_rate}


def state_of(epoch, model, optimizer):
    """All that the rest of the training depends on: of the optimizer too, and of the random numbers to come."""
    moments = {str(index): moment for index, moment in optimizer.state_dict()["state"].items()}  # keys must be text
    return {"epoch": epoch, "weights": dict(model.state_dict()), "moments": moments, "random": torch.get_rng_state()}


def take_up(state, model, optimizer):
    """Go on from such a state, if there is one; the epochs that are done."""
    if state is None:
        return 0
    model.load_state_dict(tensors(state["weights"]))
    moments = {int(index): tensors(moment) for index, moment in state["moments"].items()}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    torch.set_rng_state(torch.from_numpy(state["random"]))
    return state["epoch"]


def tensors(arrays):
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
