"""What the demo asks the mesh: rankings for visitors of the generated shop that the model was trained on."""
