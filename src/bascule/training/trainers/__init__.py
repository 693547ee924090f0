"""The trainers in the box, each one module that fulfils `bascule.training.Trainer`."""
