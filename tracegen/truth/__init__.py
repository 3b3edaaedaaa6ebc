"""How near a model comes to the machine that a trace was recorded on.

A ground truth is what was recorded beside the trace: free pages now and then, and the
attempts to get pages that ignored a watermark. An ordinary capture has none.
"""
