"""Kind ``llvm``: the planned program straight to an object, by the LLVM that TVM has inside."""
