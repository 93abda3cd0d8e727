"""A multi-layer perceptron in PyTorch. An attempt that lost its worker goes on from its last epoch."""

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
    begun = restore(trial, model)
    for epoch in range(begun + 1, trial.params["epochs"] + 1):
        for batch in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            error_rate = (model(test_inputs).argmax(dim=1) != test_targets).float().mean().item()
        trial.report(epoch, error_rate)
        trial.checkpoint({"epoch": epoch, "weights": dict(model.state_dict())})
    torch.save(model.state_dict(), trial.scratch / "model.pt")
    trial.artifact("model.pt")
    return {"error_rate": error_rate}


def restore(trial, model):
    """Take up the last checkpoint; the epochs that are done."""
    state = trial.restore()
    if state is None:
        return 0
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state["weights"].items()})
    return state["epoch"]
