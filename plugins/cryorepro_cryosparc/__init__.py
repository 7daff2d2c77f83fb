"""CryoSPARC itself: a runner that queues jobs on a master, and an importer of what a master left behind."""
