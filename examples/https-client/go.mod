module example.com/my-awesome-service

go 1.22
