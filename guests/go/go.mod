module glovebox/guests/agent

go 1.21
