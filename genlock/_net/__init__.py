"""The ground floor: URLs and AMQP connections. It does not import the rest of Genlock."""
