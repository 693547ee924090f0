"""PyTorch: which digit was written, by a small network. The seed and the order of the batches are set."""

import numpy as np
import torch

torch.manual_seed(7)
torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)
rows = torch.tensor(np.loadtxt("data/digits.csv", delimiter=",", skiprows=1), dtype=torch.float32)
rows = rows[torch.randperm(len(rows))]
x, y = rows[:, :-1] / 16, rows[:, -1].long()
x_test, y_test, x_train, y_train = x[:400], y[:400], x[400:], y[400:]

model = torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.ReLU(), torch.nn.Linear(48, 10))
optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
losses = []
for _epoch in range(12):
    for batch in torch.randperm(len(x_train)).split(64):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x_train[batch]), y_train[batch])
        loss.backward()
        optimiser.step()
    losses.append(loss.item())
with torch.no_grad():
    right = (model(x_test).argmax(1) == y_test).float().mean()
print(f"accuracy {right:.4f}")
np.save("losses.npy", np.array(losses))
with open("weights.pt", "wb") as out:
    torch.save(model.state_dict(), out)
