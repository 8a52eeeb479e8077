"""The network: tensors to tensors, batch first; nothing here touches a file."""
