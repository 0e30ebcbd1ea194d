"""The AMQP edges: topology, the command consumer, the query consumer, and the process that wires it all."""
