"""What the consumers use of AMQP: connections, publishing, topology and frames."""
