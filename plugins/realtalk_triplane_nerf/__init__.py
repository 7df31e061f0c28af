"""RealTalk plugin: triplane_nerf."""
