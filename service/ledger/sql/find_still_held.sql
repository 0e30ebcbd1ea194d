-- Those of the commands that are held, and stay so until the transaction ends. One that is being dropped is not among them.
SELECT command_id FROM held_messages WHERE command_id = ANY ($1::uuid[]) FOR KEY SHARE SKIP LOCKED
